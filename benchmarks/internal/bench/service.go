package bench

import "time"

// Service has the arguments of a program that handles all messages of a topic with a handler that waits.
type Service struct {
	Brokers  []string
	Topic    string
	Group    string
	Engine   string
	Workers  int
	Messages int
	Handler  time.Duration
}

// Served is what a [Service] measured of itself.
type Served struct {
	Seconds float64 // from the first message to the last
	Busy    float64 // share of the workers' time in their handlers
	CPU     float64 // of the whole process
	RSS     float64 // the most, in MB
}
