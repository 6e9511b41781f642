"""Say what to write for a setting that several platforms have and that import does not take over."""

USER = "the app runs as the daemon's user, or with 'isolation' as one of its own"
ISOLATION = "set 'isolation: strict'"
LIMITS = "set 'limits': memory, cpu, processes, files or disk"
MEMORY = "set 'memory' in 'limits'"
CPU = "set 'cpu' in 'limits'"
PROCESSES = "set 'processes' in 'limits'"
OPEN_FILES = "set 'files' in 'limits'"
DISK = "set 'disk' in 'limits'"
DOMAINS = "list its names in 'domains'; the host's settings say which proxy serves them"
STATIC = "list the files in 'static', beside 'domains'"
VOLUMES = (
    "'persist' keeps files that the app writes beside its code, 'mounts' opens other directories to an isolated app"
)
WORKERS = "there is one instance of an app: set 'workers' for more processes"
NONE = "it has no counterpart"
