package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// query is one line of the witness's log.
type query struct {
	Time     string `json:"time"`
	Protocol string `json:"protocol"`
	Client   string `json:"client"`
	Name     string `json:"name"`
	Type     string `json:"type"`
}

// typeNames are the record types a resolver library asks for; others are logged by number (RFC 1035 §3.2.2, RFC 3596, RFC 9460).
var typeNames = map[uint16]string{1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS"}

func dnsWitness(arguments []string) error {
	flags := flag.NewFlagSet("dns-witness", flag.ExitOnError)
	listen := flags.String("listen", ":53", "address for UDP and TCP")
	logFile := flags.String("log", "", "file for one JSON line per query (required)")
	answerName := flags.String("answer", "refused", "what to answer: refused or nxdomain")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *logFile == "" {
		return errors.New("dns-witness needs -log")
	}
	answerCode, known := map[string]byte{"refused": 5, "nxdomain": 3}[*answerName]
	if !known {
		return fmt.Errorf("unknown answer %q: write refused or nxdomain", *answerName)
	}
	witnessed, err := openJournal(*logFile)
	if err != nil {
		return err
	}
	datagrams, err := net.ListenPacket("udp", *listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	streams, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	ended := make(chan error, 2)
	go func() { ended <- witnessDatagrams(datagrams, answerCode, witnessed) }()
	go func() { ended <- witnessStreams(streams, answerCode, witnessed) }()
	return <-ended
}

func witnessDatagrams(socket net.PacketConn, code byte, witnessed *journal) error {
	buffer := make([]byte, 65535)
	for {
		count, client, err := socket.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if answer := deny(buffer[:count], code, "udp", client, witnessed); answer != nil {
			_, _ = socket.WriteTo(answer, client)
		}
	}
}

func witnessStreams(listener net.Listener, code byte, witnessed *journal) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			for {
				_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
				var length [2]byte
				if _, err := io.ReadFull(connection, length[:]); err != nil {
					return
				}
				message := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(connection, message); err != nil {
					return
				}
				answer := deny(message, code, "tcp", connection.RemoteAddr(), witnessed)
				if answer == nil {
					return
				}
				framed := binary.BigEndian.AppendUint16(nil, uint16(len(answer)))
				if _, err := connection.Write(append(framed, answer...)); err != nil {
					return
				}
			}
		}()
	}
}

// deny logs a query and returns the answer with the given response code (RFC 1035 §4.1.1); nil for what is not a query.
func deny(message []byte, code byte, protocol string, client net.Addr, witnessed *journal) []byte {
	const headerLength, responseBit, recursionDesired = 12, 0x80, 0x01
	if len(message) < headerLength || message[2]&responseBit != 0 {
		return nil
	}
	entry := query{Time: timestamp(time.Now()), Protocol: protocol, Client: client.String(), Name: "(unreadable)", Type: "?"}
	name, end, ok := readName(message, headerLength)
	if ok && end+4 <= len(message) {
		number := binary.BigEndian.Uint16(message[end:])
		entry.Name, entry.Type = name, typeNames[number]
		if entry.Type == "" {
			entry.Type = fmt.Sprintf("TYPE%d", number)
		}
		end += 4
	} else {
		end = headerLength
	}
	witnessed.record(entry)
	answer := append([]byte(nil), message[:end]...)
	answer[2] = message[2]&(0x78|recursionDesired) | responseBit
	answer[3] = code
	if end == headerLength {
		answer[4], answer[5] = 0, 0
	}
	clear(answer[6:headerLength]) // no answers, authorities or additional records
	return answer
}

// readName reads an uncompressed name, which is all a question may hold, and returns the offset behind it.
func readName(message []byte, offset int) (string, int, bool) {
	var labels []string
	for offset < len(message) {
		length := int(message[offset])
		offset++
		if length == 0 {
			return strings.ToLower(strings.Join(labels, ".")) + ".", offset, true
		}
		if length > 63 || offset+length > len(message) {
			return "", offset, false
		}
		labels = append(labels, string(message[offset:offset+length]))
		offset += length
	}
	return "", offset, false
}
