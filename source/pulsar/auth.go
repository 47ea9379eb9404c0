package pulsar

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/apache/pulsar-client-go/oauth2"
	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/auth"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

// Token authenticates with a JSON web token.
func Token(token string) pulsar.Authentication { return pulsar.NewAuthenticationToken(token) }

// TokenFrom authenticates with the token that f returns. The library calls f for each connection, and when a broker asks for
// a new token.
func TokenFrom(f func() (string, error)) pulsar.Authentication {
	return pulsar.NewAuthenticationTokenFromSupplier(f)
}

// OAuth2 authenticates with the client credentials flow. All clients of Pulsar have the same parameters: type
// (client_credentials), issuerUrl, audience, privateKey (the URL of a file), clientId, scope. New returns an error if they are
// wrong.
func OAuth2(params map[string]string) pulsar.Authentication {
	a, err := auth.NewAuthenticationOAuth2WithParams(params)
	if err == nil {
		err = checkOAuth2(params[auth.ConfigParamIssuerURL], params[auth.ConfigParamKeyFile])
	}
	if err != nil {
		return &unusable{err}
	}
	return a
}

// checkOAuth2 checks the key file and the issuer. The library would read them for the first connection, and retry errors.
func checkOAuth2(issuer, privateKey string) error {
	key, err := oauth2.NewClientCredentialsProviderFromKeyFile(privateKey).GetClientCredentials()
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // without the path: it may be the key itself
	}
	switch {
	case err != nil:
		return fmt.Errorf("OAuth2: privateKey: want the URL of a key file: %w", err)
	case key.ClientID == "" || key.ClientSecret == "":
		return errors.New("OAuth2: the file of privateKey lacks client_id or client_secret")
	case issuer == "":
		issuer = key.IssuerURL
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("OAuth2: issuerUrl %q: want the URL of an authorization server", pulsarname.WithoutPassword(issuer))
	}
	return nil
}

// unusable is an authentication with wrong parameters.
type unusable struct{ err error }
