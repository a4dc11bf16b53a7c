"""Records of arriving instances, of retrievals and of earlier studies."""
