"""`papers fit`, `validate` and `test`: one training by hand, through LightningCLI."""
