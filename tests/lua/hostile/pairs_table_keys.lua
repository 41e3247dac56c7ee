-- expect: have an order
-- Keys without an order.
for _ in pairs { [{}] = 1 } do end
