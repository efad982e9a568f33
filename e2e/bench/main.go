// Bench measures the operator on a test bed against a bare loader, and shows what several runs gave.
//
//	bench run -testbed testbed.json -binary tidelock -crds DIR -out run.json   one run on a fresh test bed
//	bench report -out result.json run.json...                                 the best of several, as a table
//
// It reports and judges nothing: the exit code tells only whether it could measure.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func command(ctx context.Context, arguments []string) error {
	const usage = "usage: bench run|report [flags]"
	if len(arguments) == 0 {
		return fmt.Errorf(usage)
	}
	flags := flag.NewFlagSet(arguments[0], flag.ExitOnError)
	out := flags.String("out", "", "file for the figures as JSON")
	switch arguments[0] {
	case "run":
		var plan Plan
		flags.StringVar(&plan.TestBed, "testbed", "", "testbed.json of a fresh test bed")
		flags.StringVar(&plan.Binary, "binary", "", "the operator")
		flags.StringVar(&plan.Definitions, "crds", "", "directory of the CustomResourceDefinitions")
		flags.StringVar(&plan.OperatorLog, "log", "", "file for the operator's log")
		flags.IntVar(&plan.Applications, "applications", 100, "how many Applications of four objects")
		flags.IntVar(&plan.Pushes, "pushes", 20, "how many commits are pushed")
		flags.IntVar(&plan.RestSeconds, "rest", 60, "seconds at rest")
		if err := flags.Parse(arguments[1:]); err != nil {
			return err
		}
		figures, err := measure(ctx, plan)
		if err != nil {
			return err
		}
		return writeJSON(*out, figures)
	case "report":
		if err := flags.Parse(arguments[1:]); err != nil {
			return err
		}
		return report(*out, flags.Args())
	default:
		return fmt.Errorf(usage)
	}
}
