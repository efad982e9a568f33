// Command gitserver holds the network services of the test bed that are not off-the-shelf programs:
//
//	gitserver serve        git over smart HTTP and HTTPS, by the real `git http-backend`, with faults on demand
//	gitserver dns-witness  a name server that records every question and knows no answer
//	gitserver misbehave    a proxy with one port for each way to be wrong
//	gitserver connect      joins a tunnel through a proxy with standard input and output
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(os.Args[2:])
	case "dns-witness":
		err = dnsWitness(os.Args[2:])
	case "connect":
		err = connectThrough(os.Args[2:])
	case "misbehave":
		err = misbehave(os.Args[2:])
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gitserver:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: gitserver serve|dns-witness|misbehave|connect [flags]   (-h after the subcommand lists its flags)")
	os.Exit(2)
}
