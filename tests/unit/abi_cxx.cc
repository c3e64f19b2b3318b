// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The header that module and provider share, to a C++ compiler.
 */
#include <type_traits>

#include "tap.h"
#include "uapi/tide-abi.h"

int main()
{
	ok(std::is_standard_layout<tide_send_wqe>::value &&
	   std::is_standard_layout<tide_cqe>::value &&
	   std::is_standard_layout<tide_ring_head>::value,
	   "the layouts are what C makes of them");
	ok(std::is_trivially_copyable<tide_send_wqe>::value &&
	   std::is_trivially_copyable<tide_cqe>::value,
	   "entries can be copied as bytes");
	return tap_end();
}
