#!/usr/bin/sh
# Exit code 0 lets the boot go on; any other one is a failed boot, and the verdict names this step.
set -eu
echo "greetings, $WHO, from Linux $(/usr/bin/busybox uname -r)"
