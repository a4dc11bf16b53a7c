"""Records of arriving instances, retrievals and priors."""
