// Command slipway delivers changes of every kind, safely and reversibly.
package main

func main() {}
