package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
)

// connectThrough opens a tunnel by CONNECT and joins it with standard input and output: what `ssh -o ProxyCommand` wants.
func connectThrough(arguments []string) error {
	if len(arguments) != 2 {
		return errors.New("connect needs a proxy's URL (http://user:password@host:port) and HOST:PORT")
	}
	proxy, err := url.Parse(arguments[0])
	if err != nil {
		return err
	}
	connection, err := net.DialTimeout("tcp", proxy.Host, dialTimeout)
	if err != nil {
		return err
	}
	defer connection.Close()
	head := "CONNECT " + arguments[1] + " HTTP/1.1\r\nHost: " + arguments[1] + "\r\n"
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(connection, head+"\r\n"); err != nil {
		return err
	}
	reader := bufio.NewReader(connection)
	answer, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the proxy answers %s", answer.Status)
	}
	go func() {
		_, _ = io.Copy(connection, os.Stdin)
		if stream, ok := connection.(*net.TCPConn); ok {
			_ = stream.CloseWrite()
		}
	}()
	_, err = io.Copy(os.Stdout, reader)
	return err
}
