package ecstest

import (
	"fmt"
	"net/http"
	"strings"
)

// adminKey is the access key of a principal that may do everything.
const adminKey = "AKIAADMINISTRATOR"

// principal is who calls.
type principal struct {
	arn     string
	policy  *policy // nil: everything is allowed
	expired bool
}

var admin = &principal{arn: "arn:aws:iam::" + Account + ":user/admin"}

// AddUser makes a principal with an access key of its own, which may do what the policy (an IAM policy's JSON) allows.
func (e *Endpoint) AddUser(key, name, policyJSON string) error {
	p, err := parsePolicy(policyJSON)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.users[key] = &principal{arn: "arn:aws:sts::" + Account + ":assumed-role/" + name + "/session", policy: p}
	return nil
}

// Expire has the credentials of an access key run out.
func (e *Endpoint) Expire(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if u := e.users[key]; u != nil {
		u.expired = true
	} else {
		e.users[key] = &principal{arn: admin.arn, expired: true}
	}
}

// SetRoles says which roles there are, by ARN, as ECS could assume. Until then it can assume any.
func (e *Endpoint) SetRoles(arns ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.roles = map[string]bool{}
	for _, arn := range arns {
		e.roles[arn] = true
	}
}

func (e *Endpoint) unknownRole(arn string) bool { return e.roles != nil && !e.roles[arn] }

// keyOf is the access key that a request is signed by.
func keyOf(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(credential, "/")
	return key
}

// authenticate finds out who calls. The signature itself is not looked at.
func (c *call) authenticate(r *http.Request) (*principal, error) {
	key := keyOf(r)
	who := c.users[key]
	switch {
	case key == "":
		return nil, fault("MissingAuthenticationTokenException", "Missing Authentication Token")
	case who != nil && who.expired:
		return nil, fault(c.wording("ExpiredTokenException", "ExpiredToken", "RequestExpired"), "The security token included in the request is expired")
	case who != nil:
		return who, nil
	case key == adminKey:
		return admin, nil
	}
	return nil, fault(c.wording("UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure"), "The security token included in the request is invalid.")
}

// wording is an error's name in a JSON service, in STS, in EC2.
func (c *call) wording(json, sts, ec2 string) string {
	switch c.service {
	case "sts":
		return sts
	case "ec2":
		return ec2
	}
	return json
}

func getCallerIdentity(c *call) (any, error) {
	return fmt.Sprintf(`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
		`<Arn>%s</Arn><UserId>AIDA</UserId><Account>%s</Account></GetCallerIdentityResult>`+
		`<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></GetCallerIdentityResponse>`, c.who.arn, Account, newID()), nil
}

func (c *call) xmlFailure(f *failure) string {
	if c.service == "ec2" {
		return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors>`+
			`<RequestID>%s</RequestID></Response>`, f.kind, f.message, newID())
	}
	return fmt.Sprintf(`<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>`,
		f.kind, f.message, newID())
}
