"""The ground under every package: what each of them may know, and nothing that knows them."""
