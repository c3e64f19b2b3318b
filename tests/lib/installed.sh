# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# For scripts of tests/host/packages-installed, in the guest or an image of it. Sourced; words.sh is beside it. The first
# command that fails ends them.
#
#   install_them          the packages, for whose kernels DKMS builds the module
#   first_time            they work, and the unit makes a device that will be there after a reboot
#   wired                 the name of the interface that has 10.99.0.1
#   snapshot              all files, a line each: name, type, mode, owner, size or target; of configuration its hash
set -eux -o pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
. "$(dirname "${BASH_SOURCE[0]}")/words.sh"

install_them() {
	local headers kernel
	apt-get -q update
	DEBIAN_FRONTEND=noninteractive apt-get -q -y install /mnt/*.deb
	dkms status
	for headers in /lib/modules/*/build; do
		kernel=${headers%/build}
		dkms status tide -k "${kernel##*/}" | grep ': installed'
	done
}

first_time() {
	bash /mnt/installed
	systemctl enable --now "tide@$(wired)"
	bash /mnt/installed "tide-$(wired)"
}

wired() {
	ip -o -4 address show to 10.99.0.1 | { read -r _ name _; echo "$name"; }
}

snapshot() {
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /mnt \) -prune -o \
		-type f -printf '%p %y %m %u:%g %s\n' -o -printf '%p %y %m %u:%g %l\n' | sort
	find /etc -type f -print0 | sort -z | xargs -0 sha256sum | sed 's/\(.*\)  \(.*\)/\2 \1/'
}
