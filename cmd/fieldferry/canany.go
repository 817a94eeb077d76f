package main

import (
	"errors"
	"slices"
	"strings"

	"fieldferry/bus/can"
	"fieldferry/bus/can/link"
)

// expandAny puts all CAN interfaces in the place of "any", each with the
// filters behind it. One that is named besides is not read twice.
func expandAny(args []string, interfaces func() ([]string, error)) ([]string, error) {
	var named, all []string
	for _, arg := range args {
		name, _, _ := strings.Cut(arg, ",")
		named = append(named, name)
	}
	for _, arg := range args {
		name, filters, more := strings.Cut(arg, ",")
		if name != can.AnyInterface {
			all = append(all, arg)
			continue
		}
		names, err := interfaces()
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, errors.New("any: there is no CAN interface; is the adapter plugged in and its kernel module loaded?")
		}
		for _, name := range names {
			if slices.Contains(named, name) {
				continue
			}
			named = append(named, name)
			if more {
				name += "," + filters
			}
			all = append(all, name)
		}
	}
	return all, nil
}

// canInterfaces names the CAN interfaces of this machine.
func canInterfaces() (names []string, err error) {
	list, err := link.List()
	for i := range list {
		names = append(names, list[i].Name)
	}
	return names, err
}
