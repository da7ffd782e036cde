package proxy

// OnStep calls f at each step of a hand-over.
func (o *Options) OnStep(f func(step string)) { o.onStep = f }
