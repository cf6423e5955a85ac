"""`python -m train ...`"""

from train.cli.main import main

if __name__ == "__main__":
    main()
