"""What is computed: functions of numbers and vectors, value and derivatives side by side. No kernels."""
