package ecs

import (
	"strings"
)

// defaultCluster is the one that ECS takes where none is named.
const defaultCluster = "default"

// placeOf names where a cluster's tasks are: "<region>/<the cluster as the job names it>". The account is not part of it: credentials
// are for one, and the ARN of another's task is not found.
func placeOf(region, cluster string) string { return region + "/" + clusterName(cluster) }

func clusterName(cluster string) string {
	if cluster == "" {
		return defaultCluster
	}
	return cluster
}

// splitPlace is the opposite of [placeOf].
func splitPlace(place string) (region, cluster string, ok bool) { return strings.Cut(place, "/") }

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
