package bench

import "time"

// sampleEvery is how often throughput is sampled.
const sampleEvery = time.Second

// stableParts is into how many parts the last samples are divided.
const stableParts = 6

// reached reports whether samples of throughput, one every sampleEvery, have settled.
func (s Stability) reached(samples []float64) bool {
	count := int(s.Over / sampleEvery)
	if s.Over == 0 || count < stableParts || len(samples) < count {
		return false
	}
	last := samples[len(samples)-count:]
	all := mean(last)
	if all <= 0 {
		return false
	}
	for i := range stableParts {
		part := mean(last[i*count/stableParts : (i+1)*count/stableParts])
		if part < all*(1-s.Within) || part > all*(1+s.Within) {
			return false
		}
	}
	return true
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
