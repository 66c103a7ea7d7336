"""Losses by pixel and by overlap, and where class weights come from."""
