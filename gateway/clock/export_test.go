package clock

// Watched does what Watch does when it wakes.
func (c *Clock) Watched() { c.look() }

// ThisMachine is the machine the test runs on.
func ThisMachine() Machine { return newMachine() }
