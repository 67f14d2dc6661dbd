output "service_arn" {
  description = "ARN of the service."
  value       = aws_ecs_service.worker.id
}

output "task_definition_arn" {
  description = "ARN of the worker's task definition."
  value       = aws_ecs_task_definition.worker.arn
}

output "role_arn" {
  description = "ARN of the worker's role."
  value       = aws_iam_role.worker.arn
}

output "security_group" {
  description = "ID of the worker's security group: let it in where NATS listens."
  value       = aws_security_group.worker.id
}

output "log_group" {
  description = "Name of the log group of the workers themselves."
  value       = aws_cloudwatch_log_group.worker.name
}
