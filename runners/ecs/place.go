package ecs

import (
	"regexp"
	"strings"
)

// defaultCluster is the one that ECS takes where none is named.
const defaultCluster = "default"

// placeOf names where a cluster's tasks are: "<region>/<account>/<the cluster as the job names it>", without the account as long as that is
// not known. A worker with another account's credentials has clusters of the same names, and finds nothing in them.
func placeOf(region, account, cluster string) string {
	if account != "" {
		region += "/" + account
	}
	return region + "/" + clusterName(cluster)
}

func clusterName(cluster string) string {
	if cluster == "" {
		return defaultCluster
	}
	return cluster
}

// splitPlace is the opposite of [placeOf].
func splitPlace(place string) (region, account, cluster string) {
	region, cluster, _ = strings.Cut(place, "/")
	if first, rest, ok := strings.Cut(cluster, "/"); ok && accountForm.MatchString(first) {
		account, cluster = first, rest
	}
	return region, account, cluster
}

var accountForm = regexp.MustCompile(`^[0-9]{12}$`)

// isTask tells whether id is a task's ARN.
func isTask(id string) bool { return strings.HasPrefix(id, "arn:") && strings.Contains(id, ":task/") }

// clusterOf is the name of a task's cluster, by the task's ARN: arn:aws:ecs:<region>:<account>:task/<cluster>/<id>.
func clusterOf(arn string) string {
	_, path, _ := strings.Cut(arn, ":task/")
	cluster, _, ok := strings.Cut(path, "/")
	if !ok {
		return "" // the ARNs of before 2018 have none in them
	}
	return cluster
}
