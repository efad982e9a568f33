package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
)

// Numbers of RFC 1928 and RFC 1929.
const (
	socksVersion       = 5
	socksNoLogin       = 0
	socksPassword      = 2
	socksNoMethod      = 0xff
	socksConnect       = 1
	socksIPv4          = 1
	socksName          = 3
	socksIPv6          = 4
	socksPasswordVer   = 1
	socksPasswordWrong = 1
)

func socksBehaviour(name, argument string) (behaviour, error) {
	switch name {
	case "login":
		return socksTunnel(true, shape{}), nil
	case "no-method":
		return func(s *session) string {
			if _, problem := s.socksMethods(); problem != "" {
				return problem
			}
			_ = s.write(string([]byte{socksVersion, socksNoMethod}))
			s.finish()
			return "no method"
		}, nil
	case "refused":
		return func(s *session) string {
			if _, problem := s.socksMethods(); problem != "" {
				return problem
			}
			_ = s.write(string([]byte{socksVersion, socksPassword}))
			if problem := s.socksLogin(); problem != "" {
				return problem
			}
			_ = s.write(string([]byte{socksPasswordVer, socksPasswordWrong}))
			s.finish()
			return "login refused"
		}, nil
	case "reply":
		code, err := strconv.Atoi(argument)
		if err != nil {
			return nil, err
		}
		return func(s *session) string {
			if problem := s.socksRequest(false); problem != "" {
				return problem
			}
			_ = s.write(socksReply(byte(code)))
			s.finish()
			return fmt.Sprintf("replied %d", code)
		}, nil
	case "silent":
		return func(s *session) string { return s.wait() }, nil
	case "half":
		return func(s *session) string {
			if problem := s.socksRequest(false); problem != "" {
				return problem
			}
			_ = s.write(string([]byte{socksVersion, 0}))
			return s.wait()
		}, nil
	case "garbage":
		return func(s *session) string {
			_, _ = s.reader.Peek(1)
			_ = s.write("HTTP/1.1 400 Bad Request\r\n\r\n")
			s.finish()
			return "spoke HTTP"
		}, nil
	case "close":
		return func(s *session) string {
			if problem := s.socksRequest(false); problem != "" {
				return problem
			}
			s.finish()
			return "closed without a reply"
		}, nil
	}
	return nil, errors.New("not known")
}

func socksReply(code byte) string {
	return string([]byte{socksVersion, code, 0, socksIPv4, 0, 0, 0, 0, 0, 0})
}

func socksTunnel(wantLogin bool, form shape) behaviour {
	return func(s *session) string {
		if problem := s.socksRequest(wantLogin); problem != "" {
			return problem
		}
		upstream, err := net.DialTimeout("tcp", s.request.Host, dialTimeout)
		if err != nil {
			_ = s.write(socksReply(4))
			s.finish()
			return err.Error()
		}
		defer upstream.Close()
		if s.write(socksReply(0)) != nil {
			return "the client gave up"
		}
		s.down.Store(0)
		return s.relay(upstream, upstream, form)
	}
}

// socksMethods reads the greeting and returns what the client offers.
func (s *session) socksMethods() ([]byte, string) {
	greeting := make([]byte, 2)
	if _, err := io.ReadFull(s.reader, greeting); err != nil {
		return nil, "no greeting: " + err.Error()
	}
	if greeting[0] != socksVersion {
		return nil, fmt.Sprintf("not SOCKS 5: %d", greeting[0])
	}
	methods := make([]byte, greeting[1])
	if _, err := io.ReadFull(s.reader, methods); err != nil {
		return nil, "half a greeting: " + err.Error()
	}
	s.entry.Headers = fmt.Sprint(methods)
	return methods, ""
}

// socksLogin reads a user and a password.
func (s *session) socksLogin() string {
	field := func() (string, error) {
		length, err := s.reader.ReadByte()
		if err != nil {
			return "", err
		}
		text := make([]byte, length)
		_, err = io.ReadFull(s.reader, text)
		return string(text), err
	}
	if _, err := s.reader.ReadByte(); err != nil {
		return "no login: " + err.Error()
	}
	user, err := field()
	if err != nil {
		return "no user: " + err.Error()
	}
	password, err := field()
	if err != nil {
		return "no password: " + err.Error()
	}
	s.entry.Scheme = "password"
	s.entry.CredentialOK = user == s.proxy.username && password == s.proxy.password
	return ""
}

// socksRequest goes through the greeting, with a login where one is wanted, up to the request.
func (s *session) socksRequest(wantLogin bool) string {
	methods, problem := s.socksMethods()
	if problem != "" {
		return problem
	}
	method := byte(socksNoLogin)
	if wantLogin {
		method = socksPassword
	}
	offered := false
	for _, candidate := range methods {
		offered = offered || candidate == method
	}
	if !offered {
		_ = s.write(string([]byte{socksVersion, socksNoMethod}))
		s.finish()
		return "the wanted method was not offered"
	}
	_ = s.write(string([]byte{socksVersion, method}))
	if wantLogin {
		if problem := s.socksLogin(); problem != "" {
			return problem
		}
		if !s.entry.CredentialOK {
			_ = s.write(string([]byte{socksPasswordVer, socksPasswordWrong}))
			s.finish()
			return "wrong password"
		}
		_ = s.write(string([]byte{socksPasswordVer, 0}))
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(s.reader, head); err != nil {
		return "no request: " + err.Error()
	}
	if head[1] != socksConnect {
		return fmt.Sprintf("command %d", head[1])
	}
	var host string
	switch head[3] {
	case socksName:
		length, err := s.reader.ReadByte()
		if err != nil {
			return "half a request"
		}
		name := make([]byte, length)
		if _, err := io.ReadFull(s.reader, name); err != nil {
			return "half a request"
		}
		host = string(name)
	case socksIPv4, socksIPv6:
		address := make([]byte, map[byte]int{socksIPv4: 4, socksIPv6: 16}[head[3]])
		if _, err := io.ReadFull(s.reader, address); err != nil {
			return "half a request"
		}
		host = net.IP(address).String()
	default:
		return fmt.Sprintf("address type %d", head[3])
	}
	port := make([]byte, 2)
	if _, err := io.ReadFull(s.reader, port); err != nil {
		return "half a request"
	}
	target := net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1])))
	s.entry.Method, s.entry.Target = "SOCKS", target
	s.request = &http.Request{Method: http.MethodConnect, Host: target}
	return ""
}
