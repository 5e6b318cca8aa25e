"""Runs a Postfix instance and stops it, with its folder, on SIGTERM or when the process that started this one is gone.

    postfix.py FOLDER      the configuration is in FOLDER/etc
"""

import os
import shutil
import signal
import subprocess
import sys
import time

folder = sys.argv[1]
postfix = ["/usr/sbin/postfix", "-c", os.path.join(folder, "etc")]
ends = []
parent = os.getppid()
signal.signal(signal.SIGTERM, lambda number, frame: ends.append(number))
# The thread that started this process may block signals, and that is inherited.
signal.pthread_sigmask(signal.SIG_SETMASK, set())
subprocess.run([*postfix, "start"], check=True)
while not ends and os.getppid() == parent:
    time.sleep(0.1)
subprocess.run([*postfix, "stop"], check=True)
shutil.rmtree(folder)
