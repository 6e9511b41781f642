"""Remove the mazes that were drawn more than an hour ago."""

from orders import remove_older_than

if __name__ == "__main__":
    print(f"removed {remove_older_than(3600)} mazes")
