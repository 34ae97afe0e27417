"""Operations of the networks: FIR resampling, bias with activation. Maps are [N, H, W, C]."""
