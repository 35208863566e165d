"""What benchmarks are made of: protocols of a modality, readers that several share, floors."""
