#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes the page once, then serves it. busybox's shell finds its own commands without a path.
set -eu

page=${HELLO_FOLDER:-/run/www}
port=${HELLO_PORT:-80}

# A board says what it is in its device tree; other machines have none.
model=$(tr -d '\0' 2>/dev/null </proc/device-tree/model || uname -m)

escape() {
    sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g'
}

mkdir -p "$page"
{
    echo '<!doctype html><meta charset="utf-8"><title>hello</title>'
    echo "<h1>Hello from $(uname -n | escape)</h1>"
    echo "<p>$(printf %s "$model" | escape), $(uname -s -r -m | escape)</p>"
} >"$page/index.html"

exec httpd -f -p "$port" -h "$page"
