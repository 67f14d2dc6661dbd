package ecs

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// wire is a request or an answer of the SDK as ECS's JSON has it, without what is empty: null, "", 0, and lists and objects with nothing
// in them. What ECS takes as its default is left out so, and a later SDK's new fields change nothing. false is kept: it is said.
func wire(v any) any { return wireOf(reflect.ValueOf(v)) }

func wireOf(v reflect.Value) any {
	switch v.Kind() { //nolint:exhaustive // requests have no other kinds
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		if v.Elem().Kind() == reflect.Bool {
			return v.Elem().Bool()
		}
		return wireOf(v.Elem())
	case reflect.Struct:
		o := object{}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				if value := wireOf(v.Field(i)); !empty(value) {
					o[strings.ToLower(f.Name[:1])+f.Name[1:]] = value
				}
			}
		}
		return o
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			list = append(list, wireOf(v.Index(i)))
		}
		return list
	case reflect.Map:
		o := object{}
		for _, key := range v.MapKeys() {
			o[key.String()] = wireOf(v.MapIndex(key))
		}
		return o
	case reflect.Bool:
		if !v.Bool() {
			return nil // not a pointer: false and unsaid are one
		}
		return true
	case reflect.String:
		return v.String()
	case reflect.Int, reflect.Int32, reflect.Int64:
		return v.Int()
	}
	return v.Interface()
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case int64:
		return v == 0
	case []any:
		return len(v) == 0
	case object:
		return len(v) == 0
	}
	return false
}

// wireJSON is [wire] as text, with sorted keys.
func wireJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // as ECS counts characters
	must(e.Encode(wire(v)))
	return bytes.TrimSpace(b.Bytes())
}
