output "runner" {
  description = "Policy of whoever submits tasks: a worker of an ecs pool, or the server of ecs:push pools."
  value       = local.policies.runner
}

output "execution" {
  description = "Policy of the role with which ECS starts tasks: image, secrets, log streams."
  value       = local.policies.execution
}

output "agent" {
  description = "Trust policy of that role."
  value       = local.policies.agent
}

output "tasks" {
  description = "Trust policy of the roles that jobs have."
  value       = local.policies.tasks
}

output "events" {
  description = "Policy of the queue of task events."
  value       = local.policies.events
}
