# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# What a test may expect to find in any guest, as Debian packages; and with what its programs are built, which happens
# before, in Debian 12 and 13. Sourced.

# shellcheck disable=SC2034 # used by those who source this
guest_packages=(
	rdma-core ibverbs-providers ibverbs-utils rdmacm-utils perftest python3-pyverbs
	iproute2 ethtool iperf3 iputils-ping tshark python3-scapy
	kmod procps util-linux e2fsprogs strace fio stress-ng jq)
# shellcheck disable=SC2034
compiler_packages=(libibverbs-dev librdmacm-dev gcc libc6-dev make)
# Libraries above the verbs, for Debian 12 and 13 only; and with what programs for MPI are built, in the guest.
# shellcheck disable=SC2034
library_packages=(ucx-utils libfabric-bin openmpi-bin libopenmpi-dev)
