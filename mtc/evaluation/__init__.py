"""Test tables read and scored, and several systems compared on them."""
