"""What stands on top of the house: finds papers, trains and scores them, keeps records and makes pages of them."""
