package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Repository is the git server's bare directory and a work tree to commit from.
type Repository struct {
	bare, tree string
}

// stagedRef holds a commit that the server has and that the branch does not show yet.
const stagedRef = "refs/bench/staged"

// createRepository makes the repository with one directory for each Application.
func createRepository(ctx context.Context, root, name, work string, count int) (*Repository, error) {
	repository := &Repository{filepath.Join(root, name+".git"), filepath.Join(work, name)}
	if _, err := git(ctx, work, "init", "-q", "--bare", "-b", "main", repository.bare); err != nil {
		return nil, err
	}
	if _, err := git(ctx, work, "init", "-q", "-b", "main", repository.tree); err != nil {
		return nil, err
	}
	for index := range count {
		if err := repository.write(index, "1"); err != nil {
			return nil, err
		}
	}
	revision, err := repository.stage(ctx, "As it is")
	if err != nil {
		return nil, err
	}
	_, err = repository.publish(revision)
	return repository, err
}

// write puts the documents of one Application into the work tree, one file each.
func (r *Repository) write(index int, value string) error {
	directory := filepath.Join(r.tree, directoryOf(index))
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	for number, document := range documents(value) {
		name := strings.TrimSuffix(kinds[number].resource, "s") + ".yaml"
		if err := os.WriteFile(filepath.Join(directory, name), []byte(document), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// stage commits the work tree and brings the commit to the server, without moving the branch.
func (r *Repository) stage(ctx context.Context, message string) (string, error) {
	for _, arguments := range [][]string{
		{"add", "-A"},
		{"commit", "-q", "-m", message},
		{"push", "-q", "--force", r.bare, "HEAD:" + stagedRef},
	} {
		if _, err := git(ctx, r.tree, arguments...); err != nil {
			return "", err
		}
	}
	return git(ctx, r.tree, "rev-parse", "HEAD")
}

// publish moves the branch to a staged commit, as the last step of a push does, and says when it did. The rename is the
// push; starting git for it would blur the time by several milliseconds.
func (r *Repository) publish(revision string) (time.Time, error) {
	branch := filepath.Join(r.bare, "refs", "heads", "main")
	if err := os.WriteFile(branch+".lock", []byte(revision+"\n"), 0o644); err != nil {
		return time.Time{}, err
	}
	moved := time.Now()
	return moved, os.Rename(branch+".lock", branch)
}

func git(ctx context.Context, directory string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", arguments...)
	command.Dir = directory
	command.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=bench", "GIT_AUTHOR_EMAIL=bench@corp.test", "GIT_COMMITTER_NAME=bench", "GIT_COMMITTER_EMAIL=bench@corp.test")
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(arguments, " "), err, output)
	}
	return strings.TrimSpace(string(output)), nil
}
