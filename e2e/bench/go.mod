module tidelock.dev/e2e/bench

go 1.24
