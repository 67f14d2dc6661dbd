package runners

import (
	"encoding/json"
	"fmt"
)

// SetDefaults gives variables of a base job template another default, and changes nothing else. What the template does not declare is left
// out, and named.
func SetDefaults(template json.RawMessage, defaults map[string]json.RawMessage) (changed json.RawMessage, undeclared []string, err error) {
	var parts, variables, properties map[string]json.RawMessage
	if err := json.Unmarshal(template, &parts); err != nil {
		return nil, nil, fmt.Errorf("base job template: want an object: %w", err)
	}
	if err := json.Unmarshal(parts["variables"], &variables); err != nil {
		return nil, nil, fmt.Errorf("base job template: variables: want an object: %w", err)
	}
	if err := json.Unmarshal(variables["properties"], &properties); err != nil {
		return nil, nil, fmt.Errorf("base job template: variables: properties: want an object: %w", err)
	}
	for _, name := range sortedKeys(defaults) {
		var schema map[string]json.RawMessage
		if json.Unmarshal(properties[name], &schema) != nil || schema == nil {
			undeclared = append(undeclared, name)
			continue
		}
		schema["default"] = defaults[name]
		if properties[name], err = json.Marshal(schema); err != nil {
			return nil, nil, err
		}
	}
	if variables["properties"], err = json.Marshal(properties); err != nil {
		return nil, nil, err
	}
	if parts["variables"], err = json.Marshal(variables); err != nil {
		return nil, nil, err
	}
	changed, err = json.Marshal(parts)
	return changed, undeclared, err
}
