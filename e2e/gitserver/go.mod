module tidelock.dev/e2e/gitserver

go 1.24
