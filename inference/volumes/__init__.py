"""Operations on volumes: resampling, blobs, patches and views of them."""
