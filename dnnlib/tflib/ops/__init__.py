"""Operations of the networks: convolution, resampling, activation, attention; [N, H, W, C]."""
