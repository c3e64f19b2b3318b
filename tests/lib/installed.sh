# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# For scripts of tests/host/packages-installed, in the guest. Sourced. The first command that fails ends them. words.sh is beside it.
#
#   wired                 the name of the interface that has 10.99.0.1
#   snapshot              all files, a line each: name, type, mode, owner, size or target; of configuration its hash
set -eux -o pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
. "$(dirname "${BASH_SOURCE[0]}")/words.sh"

wired() {
	ip -o -4 address show to 10.99.0.1 | { read -r _ name _; echo "$name"; }
}

snapshot() {
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /mnt \) -prune -o \
		-type f -printf '%p %y %m %u:%g %s\n' -o -printf '%p %y %m %u:%g %l\n' | sort
	find /etc -type f -print0 | sort -z | xargs -0 sha256sum | sed 's/\(.*\)  \(.*\)/\2 \1/'
}
