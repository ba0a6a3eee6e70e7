"""`make benchmark`: what a request costs here, in the smallest possible server, and in code as tutorials write it."""
