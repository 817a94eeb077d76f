// Package controllers tests what needs real CAN controllers, or QEMU's: links
// set by netlink and read back, and controllers that are unplugged. It is only
// tests; they want two controllers, can0 and can1, on one bus, and
// CAP_NET_ADMIN, as the arm64 guest of scripts/test/vm has them:
//
//	scripts/test/vm/suite arm64 ./scripts/test/controllers
//
// # Caveats
//
// QEMU's bus knows no bit rates and no errors, so that bus-off and its restart
// cannot be seen there.
package controllers
