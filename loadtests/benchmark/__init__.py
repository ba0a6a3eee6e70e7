"""`make benchmark`: what the service costs, beside the least that it could cost and what tutorials ship."""
