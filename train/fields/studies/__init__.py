"""What whole fields do on real data: pasted cells and lamps, walks, a contact sheet. It may import the rest of fields."""
