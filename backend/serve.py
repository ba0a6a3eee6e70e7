"""`python serve.py`: the service, under gunicorn."""

from groundwork.serve.start import main

if __name__ == "__main__":
    main()
