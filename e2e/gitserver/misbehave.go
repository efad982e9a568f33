package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// misbehavior is the misbehaving proxy: one port for each mode of `proxyModes`, each wrong in its own way, and good
// ones to compare with.
type misbehavior struct {
	username string
	password string
	control  string
	journal  *journal
	tls      map[string]*tls.Config
	next     atomic.Int64
}

// misbehave runs the misbehaving proxy, or lists where each of its modes listens.
func misbehave(arguments []string) error {
	flags := flag.NewFlagSet("misbehave", flag.ExitOnError)
	address := flags.String("address", "", "address to listen on (required)")
	base := flags.Int("base", 4000, "port of the first mode; the others follow")
	list := flags.Bool("list", false, "print a JSON object, mode to URL, and end")
	username := flags.String("username", "", "user of the modes that want a login")
	passwordFile := flags.String("password-file", "", "file with the user's password")
	logFile := flags.String("log", "", "file for one JSON line per connection, written when it is over")
	control := flags.String("control", "", "file that tells the slots what to be; read for every connection")
	certificate := flags.String("tls-certificate", "", "certificate of the modes that speak TLS")
	key := flags.String("tls-key", "", "its key")
	otherCertificate := flags.String("tls-other-certificate", "", "a certificate for another name")
	otherKey := flags.String("tls-other-key", "", "its key")
	clientAuthority := flags.String("tls-client-ca", "", "authority of the client certificates that are wanted")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *address == "" {
		return errors.New("misbehave needs -address")
	}
	if *list {
		return listModes(*address, *base)
	}
	password, err := os.ReadFile(*passwordFile)
	if err != nil {
		return fmt.Errorf("cannot read the password: %w", err)
	}
	witnessed, err := openJournal(*logFile)
	if err != nil {
		return err
	}
	configurations, err := tlsConfigurations(*certificate, *key, *otherCertificate, *otherKey, *clientAuthority)
	if err != nil {
		return err
	}
	proxy := &misbehavior{username: *username, password: trimNewline(password), control: *control, journal: witnessed, tls: configurations}
	ended := make(chan error, 1)
	for index, spec := range proxyModes {
		chosen, err := parseMode(spec)
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", net.JoinHostPort(*address, strconv.Itoa(*base+index)))
		if err != nil {
			return fmt.Errorf("cannot listen for %s: %w", spec, err)
		}
		go func() { ended <- proxy.accept(listener, chosen) }()
	}
	return <-ended
}

func trimNewline(text []byte) string {
	for len(text) > 0 && (text[len(text)-1] == '\n' || text[len(text)-1] == '\r') {
		text = text[:len(text)-1]
	}
	return string(text)
}

func listModes(address string, base int) error {
	modes := map[string]string{}
	for index, spec := range proxyModes {
		chosen, err := parseMode(spec)
		if err != nil {
			return err
		}
		modes[spec] = fmt.Sprintf("%s://%s", chosen.scheme(), net.JoinHostPort(address, strconv.Itoa(base+index)))
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(modes)
}

func tlsConfigurations(certificate, key, otherCertificate, otherKey, clientAuthority string) (map[string]*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate: %w", err)
	}
	other, err := tls.LoadX509KeyPair(otherCertificate, otherKey)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate for another name: %w", err)
	}
	authority, err := os.ReadFile(clientAuthority)
	if err != nil {
		return nil, fmt.Errorf("cannot read the authority of clients: %w", err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("no certificate in %s", clientAuthority)
	}
	return map[string]*tls.Config{
		frontTLS:          {Certificates: []tls.Certificate{own}},
		frontTLSMutual:    {Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients},
		frontTLSOtherName: {Certificates: []tls.Certificate{other}},
	}, nil
}

func (p *misbehavior) accept(listener net.Listener, chosen mode) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go p.serve(connection, chosen)
	}
}

// serve lets one connection meet one mode, and records how it went.
func (p *misbehavior) serve(raw net.Conn, chosen mode) {
	started := time.Now()
	meeting := newSession(p, raw, chosen)
	meeting.entry.Number = p.next.Add(1)
	meeting.entry.Time = timestamp(started)
	defer func() {
		_ = meeting.connection.Close()
		_ = raw.Close()
		meeting.entry.Up, meeting.entry.Down = meeting.up.Load(), meeting.down.Load()
		meeting.entry.Milliseconds = float64(time.Since(started).Microseconds()) / 1000
		p.journal.record(meeting.entry)
	}()
	meeting.entry.Outcome = meeting.meet()
}
