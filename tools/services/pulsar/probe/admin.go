package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// admin is a client of one broker's REST interface.
type admin struct {
	url   string
	token string
	http  *http.Client
}

// newAdmin returns a client with the certificate authority and token of these files; "" means none.
func newAdmin(url, caFile, tokenFile string) (*admin, error) {
	a := &admin{url: strings.TrimSuffix(url, "/"), http: &http.Client{}}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate found", caFile)
		}
		a.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	}
	if tokenFile != "" {
		text, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, err
		}
		a.token = strings.TrimSpace(string(text))
	}
	return a, nil
}

// ready requests a health check, in which the broker writes and reads a message, and the default namespace, which a
// standalone broker creates only later.
func (a *admin) ready(ctx context.Context) error {
	if _, err := a.do(ctx, http.MethodGet, "brokers/health", nil); err != nil {
		return err
	}
	_, err := a.do(ctx, http.MethodGet, "namespaces/public/default", nil)
	return err
}

// grant permits role to produce and consume in namespace. It creates tenant and namespace if they do not exist.
func (a *admin) grant(ctx context.Context, namespace, role string) error {
	tenant, _, found := strings.Cut(namespace, "/")
	if !found {
		return fmt.Errorf("invalid namespace %q: want tenant/name", namespace)
	}
	clusters := map[string]any{"allowedClusters": []string{"standalone"}}
	if status, err := a.do(ctx, http.MethodPut, "tenants/"+tenant, clusters); err != nil && status != http.StatusConflict {
		return err
	}
	if status, err := a.do(ctx, http.MethodPut, "namespaces/"+namespace, nil); err != nil && status != http.StatusConflict {
		return err
	}
	_, err := a.do(ctx, http.MethodPost, "namespaces/"+namespace+"/permissions/"+role, []string{"produce", "consume"})
	return err
}

func (a *admin) deleteTopic(ctx context.Context, topic string) error {
	_, err := a.do(ctx, http.MethodDelete, strings.Replace(topic, "://", "/", 1)+"?force=true", nil)
	return err
}

// do sends a request and returns the status of the answer; a status other than 2xx is an error.
func (a *admin) do(ctx context.Context, method, path string, body any) (int, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.url+"/admin/v2/"+path, content)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	answer, err := a.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }() // the body is read, or not needed
	if answer.StatusCode/100 != 2 {
		reason, _ := io.ReadAll(io.LimitReader(answer.Body, 300)) // a read error only shortens the message
		return answer.StatusCode, fmt.Errorf("%s %s: %s: %s", method, request.URL, answer.Status, strings.Join(strings.Fields(string(reason)), " "))
	}
	return answer.StatusCode, nil
}
