"""The whole-slice model: pictures in, answers with attention out."""
